package recordgate.local;

import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.backend.memory.MemoryCollection;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.bson.Document;
import java.util.List;
import java.util.stream.StreamSupport;

/**
 * Starts the MongoDB-protocol server in memory on 127.0.0.1 and the port given. Its own planner uses an
 * index only where a query names exactly the index's fields, so a guarded upsert
 * ({@code {_id, v: {$lt: n}}}) would scan the collection; here {@code _id} is looked up first.
 */
public final class Launcher {

  private Launcher() {}

  static final class KeyedCollection extends MemoryCollection {
    KeyedCollection(
        MongoDatabase database, String name, CollectionOptions options, CursorRegistry cursors) {
      super(database, name, options, cursors);
    }

    @Override
    protected QueryResult matchDocuments(
        Document query, Document orderBy, int skip, int limit, int batchSize, Document fields) {
      Object id = query.get("_id");
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
  }

  static final class KeyedDatabase extends MemoryDatabase {
    KeyedDatabase(String name, CursorRegistry cursors) {
      super(name, cursors);
    }

    @Override
    protected MemoryCollection openOrCreateCollection(String name, CollectionOptions options) {
      return new KeyedCollection(this, name, options, cursorRegistry);
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
