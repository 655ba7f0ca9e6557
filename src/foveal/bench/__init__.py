"""`foveal bench URL`: a load generator for any server that speaks OpenAI's chat completions with pictures.

    Workload -> Conversation -> Request -> Sample -> Report -> table, JSON, plot, expectations

It knows HTTP and pictures, and nothing of Foveal's engine and server: a server is a URL.

    records         the data, in the order of a run
    pictures        draws pictures
    conversations   what is asked: pictures, words, turns, what is shared
    clock           the time, and waiting until a time
    stock           draws pictures before the run, so that drawing does not disturb it
    wire            a request's body, and the events of an answer
    timing          bytes of an answer with their times -> Sample; pure
    client          one request over HTTP
    server          checks a server before a run, and finds its model
    run             closed loop, arrival rate, two servers in alternation
    report          samples -> Report; pure
    ratios          two servers' samples -> ratios with intervals; pure
    expectations    conditions on a report for the exit status to be 0
    show            tables and progress
    export, plot    JSON, PNG
    program         a run from its settings to its exit status
"""
