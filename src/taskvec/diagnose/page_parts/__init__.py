"""What the page of a report is made of: figures as SVG, tables as HTML, one style."""
