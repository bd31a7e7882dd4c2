"""Routing: is a stretch of audio degraded, so that the adapter should hear it?"""
