"""What an edited model can still do: lm-eval's tasks on the model in memory, compared with the unedited one.

``spec``: what a suite asks for. ``tasks``: names and named sets. ``index``: which names there are. ``loading``: tasks
with their documents. ``local_data``, ``original_forms``: documents from a folder. ``evaluate``: one task on one model.
``baseline``: the unedited model, kept. ``entries``: a task's results. ``bench``: a cell's measurement and its files.
``desk``: what the runner talks to. ``core_tasks``, ``core``, ``build``: the tasks that ship, and how they were made.
"""
