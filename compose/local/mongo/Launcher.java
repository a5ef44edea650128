package recordgate.local;

import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.DefaultQueryMatcher;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.backend.QueryMatcher;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.backend.memory.MemoryCollection;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.backend.memory.index.MemoryUniqueIndex;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.stream.StreamSupport;

/**
 * Starts the MongoDB-protocol server in memory on 127.0.0.1 and the port given. Its own planner uses an
 * index only where a query names exactly the index's fields, so a guarded upsert
 * ({@code {_id, v: {$lt: n}}}) would scan the collection; here {@code _id} is looked up first. And a page in
 * order of {@code _id} would sort the collection; here an index keeps texts in MongoDB's order, of UTF-8.
 */
public final class Launcher {

  private static final QueryMatcher MATCHER = new DefaultQueryMatcher();

  private Launcher() {}

  static final class OrderedIndex extends MemoryUniqueIndex {
    private final ConcurrentNavigableMap<String, Integer> texts =
        new ConcurrentSkipListMap<>(OrderedIndex::compareUtf8);

    OrderedIndex(String name, List<IndexKey> keys, boolean sparse) {
      super(name, keys, sparse);
    }

    /** UTF-16 orders surrogates before U+E000 to U+FFFF, UTF-8 after them. */
    static int compareUtf8(String a, String b) {
      int shared = Math.min(a.length(), b.length());
      for (int i = 0; i < shared; i++) {
        char x = a.charAt(i);
        char y = b.charAt(i);
        if (x != y) {
          boolean odd = Character.isSurrogate(x) != Character.isSurrogate(y);
          return odd && x >= 0xD800 && y >= 0xD800 ? Character.compare(y, x) : Character.compare(x, y);
        }
      }
      return Integer.compare(a.length(), b.length());
    }

    @Override
    protected boolean putKeyPosition(KeyValue key, Integer position) {
      boolean added = super.putKeyPosition(key, position);
      if (key.get(0) instanceof String text) {
        texts.put(text, position);
      }
      return added;
    }

    @Override
    protected Integer removeDocument(KeyValue key) {
      if (key.get(0) instanceof String text) {
        texts.remove(text);
      }
      return super.removeDocument(key);
    }

    Iterable<Integer> from(String text, boolean inclusive) {
      return texts.tailMap(text, inclusive).values();
    }
  }

  static final class KeyedCollection extends MemoryCollection {
    KeyedCollection(
        MongoDatabase database, String name, CollectionOptions options, CursorRegistry cursors) {
      super(database, name, options, cursors);
    }

    @Override
    protected QueryResult matchDocuments(
        Document query, Document orderBy, int skip, int limit, int batchSize, Document fields) {
      Object id = query.get("_id");
      if (id instanceof Document range
          && range.size() == 1
          && (range.get("$gt") instanceof String || range.get("$gte") instanceof String)
          && orderBy != null
          && orderBy.keySet().equals(Set.of("_id"))
          && Integer.valueOf(1).equals(orderBy.get("_id"))
          && skip == 0
          && limit > 0) {
        for (Index<Integer> index : getIndexes()) {
          if (index instanceof OrderedIndex ordered) {
            // The server's own comparison of texts would drop what only UTF-8 puts here.
            Document rest = query.clone();
            rest.remove("_id");
            List<Document> page = page(ordered, range, rest, limit);
            return matchDocumentsFromStream(
                page.stream(), rest, new Document(), 0, limit, batchSize, fields);
          }
        }
      }
      if (id != null && query.size() > 1) {
        Document byId = new Document("_id", id);
        for (Index<Integer> index : getIndexes()) {
          if (index.canHandle(byId)) {
            var found =
                StreamSupport.stream(index.getPositions(byId).spliterator(), false)
                    .map(this::getDocument);
            return matchDocumentsFromStream(found, query, orderBy, skip, limit, batchSize, fields);
          }
        }
      }
      return super.matchDocuments(query, orderBy, skip, limit, batchSize, fields);
    }

    private List<Document> page(OrderedIndex ids, Document range, Document query, int limit) {
      boolean inclusive = range.containsKey("$gte");
      List<Document> found = new ArrayList<>();
      for (Integer position : ids.from((String) range.get(inclusive ? "$gte" : "$gt"), inclusive)) {
        Document document = getDocument(position);
        if (MATCHER.matches(document, query)) {
          found.add(document);
          if (found.size() == limit) {
            break;
          }
        }
      }
      return found;
    }
  }

  static final class KeyedDatabase extends MemoryDatabase {
    KeyedDatabase(String name, CursorRegistry cursors) {
      super(name, cursors);
    }

    @Override
    protected MemoryCollection openOrCreateCollection(String name, CollectionOptions options) {
      return new KeyedCollection(this, name, options, cursorRegistry);
    }

    @Override
    protected Index<Integer> openOrCreateUniqueIndex(
        String collection, String name, List<IndexKey> keys, boolean sparse) {
      boolean ofIds = keys.size() == 1 && keys.get(0).getKey().equals("_id");
      return ofIds
          ? new OrderedIndex(name, keys, sparse)
          : super.openOrCreateUniqueIndex(collection, name, keys, sparse);
    }
  }

  static final class KeyedBackend extends MemoryBackend {
    @Override
    public MemoryDatabase openOrCreateDatabase(String name) {
      return new KeyedDatabase(name, getCursorRegistry());
    }
  }

  /** Drivers refuse the server's own wire version 8; what they then send, it understands. */
  static final class Claimed implements MongoVersion {
    @Override
    public List<Integer> getVersionArray() {
      return List.of(5, 0, 0, 0);
    }

    @Override
    public int getWireVersion() {
      return 13;
    }
  }

  public static void main(String[] arguments) {
    KeyedBackend backend = new KeyedBackend();
    backend.version(new Claimed());
    MongoServer server = new MongoServer(backend);
    server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    System.out.println("listening on " + server.getConnectionString());
  }
}
