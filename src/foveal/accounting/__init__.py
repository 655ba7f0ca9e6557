"""Keys, limits, prices and the ledger: who may ask, how much, and at what cost. Knows no wire format.

keys        secrets, their digests, and the ring of known keys
limits      what a key took in the last minute, and what it may take
prices      the only place where tokens become money
bill        what one request reserves and takes
ledger      a row for each answer, and summaries of rows
totals      counts of all answers, for metrics
schema      the tables; migrations/ makes and changes them, and migrating runs what is due
backends    what differs between SQLite and PostgreSQL
database    keys and the ledger in those tables
books       reads and writes that file, off the event loop
accounting  puts these together: admits a request, settles its bill
"""
