"""`foveal bench URL`: a load generator for any server that speaks OpenAI's chat completions with pictures.

    Workload -> Conversation -> Request -> Sample -> Report -> table, JSON, plot, expectations

It knows HTTP and pictures. It refuses to know Foveal's engine and server: a server is a URL, whoever wrote it.

    records         the data, in the order of a run
    pictures        draws them
    conversations   what is asked: pictures, words, turns, what is shared
    clock           what time it is, and waiting for one
    stock           draws ahead, so that nothing is drawn while times are taken
    wire            a request's body, and the events of an answer
    timing          what was read and when -> Sample; pure
    client          one request over HTTP
    server          is it there, does it speak the dialect, which model
    run             closed loop, arrival rate, two servers in alternation
    report          samples -> Report; pure
    ratios          two servers' samples -> ratios with intervals; pure
    expectations    what a report has to say for the exit status to be 0
    show            tables and progress
    export, plot    JSON, PNG
    program         a run from its settings to its exit status
"""
