"""Child processes of the server: one way to start them, to speak to them and to bound them. Imports no other stage.

In the server: spawn starts a child, process is what the server sees of it from then on.
In the child:  child is what runs first; jobs answers one question after another; limits is what a child gives up.
In both:       frames, the messages on the socket between the two.
What runs in a child belongs to the stage that wants it done, and is called by name: `media.worker`,
`engine_client.grammar_trial` and `engine.process`.
"""
