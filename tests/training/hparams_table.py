"""The HParams table as TensorBoard's own backend reads it."""

from types import SimpleNamespace

from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups


def read_table(logdir) -> dict[str, SimpleNamespace]:
    """Settings, scores and status by run, as the page would show them."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=api_pb2.Status.values(),
        slice_size=100,
        aggregation_type=api_pb2.AGGREGATION_AVG,
    )
    handler = list_session_groups.Handler(RequestContext(), context, "", request)
    return {
        session.name: SimpleNamespace(
            settings={
                name: getattr(value, value.WhichOneof("kind"))
                for name, value in group.hparams.items()
            },
            scores={
                (each.name.group, each.name.tag): each.value
                for each in session.metric_values
            },
            status=session.status,
        )
        for group in handler.run().session_groups
        for session in group.sessions
    }
