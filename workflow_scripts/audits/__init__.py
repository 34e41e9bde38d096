"""Audits: the code of the mechanisms, run on records made to be found, against what it claims.

Nothing here reads sensitive data, and no mechanism is written a second time: the audits call what
the workflow calls, `release_votes`, `release_query`, `release_class_counts` and `Training` with
`DpSgd`, and judge what comes out. No single check sees every fault (arXiv 2602.17454 for record and
replay, 2305.08846 for canaries, Nasr et al., USENIX Security 2023, for two worlds), so there are

- record and replay: how far one record moves what is released, before noise;
- the scale of the noise, and whether two releases share any;
- two worlds: who is in the data, guessed from the releases, bounds ε from below;
- the sampler, on its own, because its faults are not visible in what is released;
- accountants that know nothing of each other.

Checks of chance have a false alarm with probability `findings.FALSE_ALARM` each.
"""
