"""Curricula in the actors of a Ray cluster, behind any number of front doors. Needs the extra ``ray``."""

from syllabus_service.ray_engine.engine import RayEngine
from syllabus_service.ray_engine.settings import RayCluster

__all__ = ["RayCluster", "RayEngine"]
