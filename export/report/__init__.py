"""The report of an export: an HTML page, and its figures as JSON."""

HTML_NAME = "report.html"
JSON_NAME = "report.json"
