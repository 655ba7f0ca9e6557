"""Child processes of the server: one way to start them, to exchange messages and to set limits. Imports no other stage.

In the server: spawn starts a child; process sends to it, receives from it and ends it.
In the child:  child runs first; jobs answers one job after another; limits drops privileges and sets resource limits.
In both:       frames, the messages on the socket between the two.

The code that a child runs belongs to another stage and is called by name: `media.worker`,
`engine_client.grammar_trial` and `engine.start`.
"""
