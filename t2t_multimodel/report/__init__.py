"""Reports: one self-contained HTML file, and the same report in Markdown. Does not use models or storage."""
