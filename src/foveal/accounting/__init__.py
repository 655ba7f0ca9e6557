"""Who asks, how much they may, what it costs, and what they took. Knows no wire format and no tensor.

keys      who: secrets, their digests, the ring of those that are known
limits    how much: what a key took in the last minute
prices    what it costs: the one place where tokens become money
ledger    what they took: a row of each answer, and its summary
database  where keys and the ledger are kept
books     what is to be written, off the event loop
accounting  the four at work: admits a request, settles its bill
"""
