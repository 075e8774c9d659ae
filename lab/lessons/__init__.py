"""Lessons: tasks in a running lab, checked by packets.

lesson.py    the file of a lesson, read and checked
course.py    a lesson that runs: its steps, its checks, and how far the learner is
"""
