"""What a bad input, a damaged file or a kill can do: `python -m tests.hardening` for the figures,
`test_hardening` for a short sample of each.
"""
