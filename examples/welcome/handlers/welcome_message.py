"""Writes the message that greets a new user, from a template in the user's language."""

from pathlib import Path
from string import Template

from jobhost_sdk import Handler, UnrecoverableError

TEMPLATES = Path(__file__).parent / "templates"


class Message(Handler):
    """What handlers of messages share: a template whose first line is the subject. It has no `run`, so it is no handler itself."""

    def render(self, language, **values):
        file = TEMPLATES / f"{language}.txt"
        if not file.is_file():
            known = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.txt")))
            raise UnrecoverableError(f"there is no template for {language!r}; there are {known}")
        try:
            subject, text = Template(file.read_text("utf-8")).substitute(values).split("\n", 1)
        except KeyError as error:
            raise UnrecoverableError(f"the template {file.name} needs {error}, which nobody gave") from error
        return {"subject": subject, "text": text}


class WelcomeMessage(Message):
    name = "welcomeMessage"
    description = "Writes the message that greets a new user."
    version = "1.0.0"
    author = "jobhost"
    input = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "language": {"enum": ["en", "de"]}},
    }

    def run(self, job, ctx):
        user = {"language": "en", "company": "jobhost", "first_step": "", **job.data}
        ctx.logger.info("writing", language=user["language"])
        message = self.render(**user)
        ctx.progress(100)
        return message
