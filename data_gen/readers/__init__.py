"""Readers of people's own files: lines of text, pictures, recordings, bracketed trees."""
