"""How things look: number formats, tables, charts, one HTML page. Knows words and numbers only."""
