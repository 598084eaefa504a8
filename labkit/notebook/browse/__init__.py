"""Look at records: a histogram over time, the fields, a table, filters by a click, one record in
full.
"""
