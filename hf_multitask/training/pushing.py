"""A trainer's model on the Hub, with what lies beside it."""

from pathlib import Path

from .restoring import Restoring

__all__ = ["Pushing"]


class Pushing(Restoring):
    """A Trainer, to be mixed into another, that publishes its model as the model itself does."""

    def push_to_hub(  # type: ignore[override]
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
    ) -> str | None:
        """Publish the model as `model.push_to_hub` does, as `hub_model_id` or by the name of `output_dir`.

        A report, recipe and pictures that lie in `output_dir` go with it. Gives the commit's address, in one process.
        """
        if not blocking:
            raise ValueError("A model is published before the program goes on. Leave blocking out.")
        if self.sharded:
            raise ValueError(
                "Here no process holds the whole model. Save it by trainer.save_model, and publish the folder: "
                "recipes/publish.py --model FOLDER --repo NAME."
            )
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if not self.is_world_process_zero():
            return None
        folder = str(self.args.output_dir)
        return self.model.push_to_hub(
            self.args.hub_model_id or Path(folder).absolute().name,
            report=folder,
            commit_message=commit_message,
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
            private=self.args.hub_private_repo if private is None else private,
        )
