"""EpiMer (Lu et al. 2026, arXiv:2605.26693): merging as a Fréchet mean under curvature, against its neighbours."""
