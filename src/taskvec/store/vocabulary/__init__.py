"""Models of different vocabularies: their tokens matched by text, their rows brought to one order."""

from .plan import VocabularyPlan, plan_vocabulary
from .request import RULES, ModelToken, TokenRule, VocabularyRequest

__all__ = ["RULES", "ModelToken", "TokenRule", "VocabularyPlan", "VocabularyRequest", "plan_vocabulary"]
