"""Each method as a slow loop over one entry at a time, in float64, written from its paper and from nothing of ours.

Task vectors are lists of floats, one entry after the other; settings that may differ by task are given a task each.
"""
