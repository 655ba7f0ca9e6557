"""Keys, limits, prices and the ledger: who may ask, how much, and at what cost. Knows no wire format.

keys        secrets, their digests, and the ring of known keys
limits      what a key took in the last minute, and what it may take
meters      the same for all keys, against their limits, by one server alone
shared_*    the same by several servers together, in their database
prices      the only place where tokens become money
bill        what one request reserves and takes
ledger      a row for each answer, and summaries of rows
totals      counts of all answers, for metrics
schema      the tables; migrations/ makes and changes them, and migrating runs what is due
backends    what differs between SQLite and PostgreSQL
database    keys and the ledger in those tables
teller      a thread for a database
books       reads and writes the database, off the event loop
accounting  puts these together: admits a request, settles its bill
opening     as configured
"""
