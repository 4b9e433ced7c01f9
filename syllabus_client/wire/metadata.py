"""Keys of gRPC metadata that both sides know."""

AUTHORIZATION = "authorization"
"""Of a request: ``Bearer <token>``."""

APPLIED = "syllabus-applied"
"""Trailing, of a refusal: ``1`` where the curriculum itself refused the command. It has its place in the journal, and
its sequence is used up; every other refusal leaves the sequence free for the next request."""
