"""Collecting: other products' and raw data into canonical, each page merged once.

A source is walked page by page. What comes is landed in a file, then merged by an import whose
transaction moves the source's cursor, so cursor and rows are one. Any number of collectors share
the sources by leases with an epoch.
"""
