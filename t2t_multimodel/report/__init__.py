"""Reports: one HTML file that opens from disk, and its twin in Markdown. Knows nothing of models or storage."""
