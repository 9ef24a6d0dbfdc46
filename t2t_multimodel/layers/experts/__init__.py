"""Noisy top-k mixture of experts, in four parts; paper §2.2, Shazeer et al. 2017 (arXiv 1701.06538).

tokens → router (which experts, with which gates) → dispatch (tokens to experts)
       → feed_forward (the experts themselves) → combine (back to tokens, times the gates)
"""

from t2t_multimodel.layers.experts.mixture import MixtureOfExperts

__all__ = ["MixtureOfExperts"]
