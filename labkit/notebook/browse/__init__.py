"""Browse records: a histogram, fields, a table, filters by a click, one record in full."""
