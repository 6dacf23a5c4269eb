"""optima"""
