"""GraphQL over HTTP, server-sent events and WebSocket: what is asked, admitted and streamed."""
