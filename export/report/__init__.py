"""The report of an export: one page for people, and its figures as JSON."""

HTML_NAME = "report.html"
JSON_NAME = "report.json"
