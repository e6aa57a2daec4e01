"""The scripted server: speaks both APIs as OpenAI does, on loopback, and misbehaves when it is told to.

`script` reads what it shall do, `answer` finds what is said, `responses` and `chat` turn that into events, `faults`
bends the events, `background` keeps answers that outlive their connection, `routes` chooses the reply to a request,
`server` is the only module with a socket, `cli` the program. It knows nothing of the client.
"""
