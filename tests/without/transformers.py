raise ModuleNotFoundError('hidden by tests/without: the tools do not need what requirements/tests.txt adds')
