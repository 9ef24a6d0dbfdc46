"""The operations that make the layers fast, each beside its plain formula."""
