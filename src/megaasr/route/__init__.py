"""Routing: is a chunk of audio degraded, so that the robust branch should decode it?"""
