"""DG-WGPO: reinforcement learning of the robust adapter by error rates (`mega-asr train rl`)."""
