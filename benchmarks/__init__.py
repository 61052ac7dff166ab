"""Speed and memory, as tables; run by hand, not by the tests."""
