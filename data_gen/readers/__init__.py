"""Readers of common file formats: lines of text, pictures, recordings, bracketed trees."""
