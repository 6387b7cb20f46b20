# Every target sets up what it needs: the active virtual environment if there is one, else .venv.
# PYTHON=python3.12 chooses the interpreter that .venv is made with. ARGS='...' is handed on.

setup := PYTHON="$(PYTHON)" python3 tools/setup_env.py
# One thread in each test process: xdist already uses the cores.
threads := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo test gpu lint format docs pictures clean

help:
	@echo "make demo     set up, write the small dataset, train and test on it, draw predictions (work_dirs/demo)"
	@echo "make test     set up and run all tests; one of them: make test ARGS='tests/test_registry.py -k scope'"
	@echo "make gpu      check and measure on one GPU, in at most 8 minutes (work_dirs/gpu); in miniature where there is none"
	@echo "make lint     check style and types"
	@echo "make format   fix style where ruff can"
	@echo "make docs     write the tables that configs/*/metafile.yml give, and build the site (site/index.html); warnings fail it"
	@echo "make pictures redraw the images of the docs from what make demo left; ARGS='errors grad_cam' for some"
	@echo "make clean    remove caches and build leftovers; data/, work_dirs/ and .venv stay"
	@echo "Add PYTHON=python3.12 to choose the Python (3.10 to 3.13) of .venv."

demo:
	@$(setup) runtime -- python tools/demo.py $(ARGS)

test:
	@$(threads) $(setup) tests -- python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal --durations 10 $(ARGS)

# On a machine without a network PYTHON (else python3) runs as it is if it has all packages; nothing is installed then.
gpu:
	@$(setup) --if-missing tests -- python tools/analysis_tools/check_gpu.py $(ARGS)

lint:
	@status=0; \
	$(setup) tests -- python -m ruff check . || status=1; \
	$(setup) tests -- python -m ruff format --check --diff . || status=1; \
	$(setup) tests -- python -m mypy || status=1; \
	exit $$status

format:
	@$(setup) tests -- python -m ruff check --fix .
	@$(setup) tests -- python -m ruff format .

docs:
	@$(setup) docs -- python tools/docs/generate.py $(ARGS)
	@$(setup) docs -- env NO_MKDOCS_2_WARNING=1 python -m mkdocs build
	@echo site/index.html

pictures:
	@$(setup) tests -- python tools/docs/draw_pictures.py $(ARGS)

clean:
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find mmav tools tests configs projects demo -name __pycache__ -type d -prune -exec rm -rf {} +
