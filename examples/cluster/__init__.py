"""The cluster form: a service, a learner and workers as programs of their own, found by SYLLABUS_TARGET."""
