"""What travels over the wire (pydantic); configs and keys are those of workers."""
