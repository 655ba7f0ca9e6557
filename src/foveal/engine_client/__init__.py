"""The server's side of engines: one protocol, implemented by a thread of this process and by a child process.

client         the protocol
streams        the requests in flight, from `submit` to the one terminal event of each
local          an engine in a thread of this process
supervisor     an engine in a child process, restarted after a crash
quarantine     which requests are retried after a crash, and when
grammar_check  tries grammars in a process of their own (grammar_trial, grammar_protocol) before an engine gets them

Imports no torch: `local` imports the engine when it is started.
"""
