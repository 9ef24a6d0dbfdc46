"""A trained run as a service over HTTP: requests, batches of strangers' inputs, and a web page."""
