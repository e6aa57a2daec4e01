"""Bytes → events → the verdict on an answer.

In: the bytes of a body, as they arrive. Out: events in the vocabulary of the Responses API, the response that they
assemble, how it ended. No I/O, no clock.

    answer                  one stream: its decoder, its reply, until when to wait, the verdict
      decode                body → events; its parts are body_kind, sse, json_body
        responses_dialect   events of the Responses API, as they are
        delta_runs          deltas that arrived together, read as one event
        chat_dialect        chunks of Chat, by chat: chat_fields, chat_calls, chat_items
      reply                 events → text, calls, response, verdict
        item_table          which item an event belongs to
        items               what is known of an item; streamed_text, of a text
        final_output        which streamed item the final output repeats
        tool_calls          which calls wait for the client
        ending              what the terminal event says; finish_reason, in which words

Everywhere: `api_error` for errors in any shape, `fields` for fields of any type, `text_buffer` for texts in pieces.
"""
