package recordgate.local;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.apache.lucene.analysis.LowerCaseFilter;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.miscellaneous.ASCIIFoldingFilter;
import org.apache.lucene.analysis.ngram.EdgeNGramTokenFilter;
import org.apache.lucene.analysis.snowball.SnowballFilter;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;

/**
 * Registers Lucene's own filters under Elasticsearch's names, and answers {@code GET /}: what the
 * server's distribution for integration tests leaves out and recordgate's mappings need.
 */
public final class AnalysisBridge extends Plugin implements AnalysisPlugin, ActionPlugin {

  /** A filter that keeps terms comparable also runs when a query's term is only normalised. */
  private record Filter(String name, UnaryOperator<TokenStream> make, boolean normalizes)
      implements TokenFilterFactory {
    @Override
    public TokenStream create(TokenStream input) {
      return make.apply(input);
    }

    @Override
    public TokenStream normalize(TokenStream input) {
      return normalizes ? make.apply(input) : input;
    }
  }

  @Override
  public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
    Map<String, AnalysisProvider<TokenFilterFactory>> filters = new TreeMap<>();
    filters.put("lowercase", (i, e, name, s) -> new Filter(name, LowerCaseFilter::new, true));
    filters.put("asciifolding", (i, e, name, s) -> new Filter(name, ASCIIFoldingFilter::new, true));
    filters.put(
        "edge_ngram",
        AnalysisPlugin.requiresAnalysisSettings(
            (i, e, name, s) -> {
              int min = s.getAsInt("min_gram", 1);
              int max = s.getAsInt("max_gram", 2);
              return new Filter(name, in -> new EdgeNGramTokenFilter(in, min, max, false), false);
            }));
    filters.put(
        "stemmer",
        AnalysisPlugin.requiresAnalysisSettings(
            (i, e, name, s) -> {
              String language = capitalised(s.get("language", "english"));
              return new Filter(name, in -> new SnowballFilter(in, language), false);
            }));
    return filters;
  }

  private static String capitalised(String language) {
    return Character.toUpperCase(language.charAt(0)) + language.substring(1);
  }

  @Override
  public List<RestHandler> getRestHandlers(
      RestHandlersServices services,
      Supplier<DiscoveryNodes> nodes,
      Predicate<NodeFeature> features) {
    return List.of(new Root());
  }

  private static final class Root extends BaseRestHandler {
    @Override
    public String getName() {
      return "recordgate_root";
    }

    @Override
    public List<Route> routes() {
      return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override
    protected Set<String> responseParams() {
      return Set.of("pretty");
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client)
        throws IOException {
      return channel -> {
        var body = channel.newBuilder().startObject();
        body.field("name", client.getLocalNodeId());
        body.field("cluster_name", client.settings().get("cluster.name", "elasticsearch"));
        body.startObject("version");
        body.field("number", Build.current().version());
        body.field("build_flavor", Build.current().flavor());
        body.field("build_type", "zip");
        body.endObject();
        body.field("tagline", "You Know, for Search");
        channel.sendResponse(new RestResponse(RestStatus.OK, body.endObject()));
      };
    }
  }
}
