"""One model on many machines: the same pipeline and HTTP application, with engines that Ray Serve places and scales.

messages     what an ingress and a replica say to each other: those of an engine, and pictures
replica      an engine with an arena of its own, as an actor of a cluster
replicated   the EngineClient of an ingress: a request goes to a replica, and to another one if that is lost
affinity     which replica a request is best sent to
router       the same, as Ray's router asks for it
scaling      how many replicas there should be
calls        calls of replicas by Ray's router
ingress      the ASGI application, from start to end
application  what Ray Serve is asked to run

Only `router`, `calls` and `application` import Ray.
"""
