"""What the server sees of engines: one protocol, and who keeps it (a thread, a child process that is watched).

client         the protocol; streams: every request in flight, from `submit` to its one terminal event
local          an engine in a thread of this process
supervisor     an engine in a child process, restarted when it dies; quarantine: who is blamed for a death
grammar_check  grammars tried out before an engine gets them, in a process of their own: grammar_trial, grammar_protocol
Imports no torch: an engine's own code is imported where it runs.
"""
