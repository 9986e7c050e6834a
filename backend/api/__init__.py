"""Routes, one file a noun: they parse, call one service and answer."""
