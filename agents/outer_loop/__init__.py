"""outer_loop"""
