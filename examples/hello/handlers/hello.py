"""A handler without any import: the name of the job is that of the file."""


def handler(job, ctx):
    """Greet `data.name`."""
    name = job.data.get("name", "world")
    ctx.logger.info("greeting", name=name)
    return f"Hello, {name}!"
