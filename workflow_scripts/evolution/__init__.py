"""Private Evolution (arXiv 2305.15560): lookahead, votes, selection, blocks.

One iteration embeds the variations of every candidate (`lookahead`), lets every sensitive image
vote for the nearest (`votes`, the mechanism), turns the noisy votes into parents (`selection`) and
varies those. Only `votes` sees sensitive data, and where a method asks for them `class_counts` and
`choice`.
"""
