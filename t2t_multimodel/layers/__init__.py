"""The blocks of the body, as the paper describes them."""
